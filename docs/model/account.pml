/*
 * The concurrency of authsrv, small enough to be read beside PROTOCOL.md and STORAGE.md. Spin goes through every order of the
 * steps below:
 *
 *     go test -v ./docs/model                                             this, and every mutant of it
 *     spin -a account.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan       one world of it alone
 *     spin -t -p -DREGISTRARS -DMUTANT_NAME account.pml                   how a mutant fails, step by step, after ./pan has found it
 *
 * The world is one name. Its account has its password changed, its sessions ended, and is deleted; somebody else wants to register the
 * name anew. Meanwhile connections log in or resume, and make requests. There are two worlds, as both in one have too many states: one
 * with two connections and one thing that ends their sessions, and with -DREGISTRARS one with one connection, two such things, one after
 * the other, and two who want to register the name.
 *
 * A mutant is this model without one protection (-DMUTANT_…): each breaks the assertion that is named beside it.
 *
 * Variables are put back to 0 when they are not needed any more: then Spin sees that states are the same.
 *
 * What is assumed, and so not shown here:
 *   - Proofs can't be forged: a proof is the nonce that it answers and the password that made it (PROTOCOL 6).
 *   - A commit compares the versions of what was read and writes, in one step, and no version is used twice (STORAGE 1.1, 1.2). A version
 *     is the number of writes to the key here. Reads are one by one, each at its own time.
 *   - What is committed stays (STORAGE 1.3): there are no crashes here.
 *   - The feed has every change at some time (STORAGE 1.4), and the one who follows it goes on.
 *   - There is no time: nothing expires and nothing is throttled (PROTOCOL 9, rule 3). Disabling is ending sessions, as far as this goes.
 *   - Two passwords, one request of each connection, three accounts one after the other and two sessions show what there is to see.
 */

#ifdef REGISTRARS
#define ENDINGS 2
#else
#define ENDINGS 1
#endif

#define NOBODY 0
#define GONE   255

/* The store (STORAGE 3). Ids are given in turn; 0 is none. */

byte name = 1;                       /* `n`: the account that has the name, or NOBODY */
byte nameVersion = 1;
byte password[4];                    /* `a`: which password is right; 0: no such account */
byte generation[4];
byte accountVersion[4];
byte sessionOf[3];                   /* `s`: whose session it is; NOBODY: no such session */
byte sessionGeneration[3];
byte accounts = 1, sessions = 0;     /* ids that were given */
bit  feed;                           /* there is a change that the watcher has not taken */

/* The server's memory, by connection. */

bit  joined[3];                      /* the watcher looks after it */
byte sessionAt[3];
bit  woken[3];

/* What only the reader of this knows. */

byte acknowledged[4];                /* the generation that somebody was told that an account has; GONE: that it was deleted */
byte bornOf[3], bornIn[3];           /* by session: the account, and its generation, that the proof was held against */
bit  served[3];                      /* by connection: its nonce has opened a session */
bit  nonceServedTwice, provedForAnother, nameHasTwoAccounts, oldSessionLives, servedTooLate, deadAndNotWoken;

/* OVER: what ended the session was acknowledged. LIVE: as of this moment, by STORAGE 3.2. */
#define OVER(s)  (acknowledged[bornOf[s]] > bornIn[s])
#define LIVE(s)  (sessionOf[s] != NOBODY && password[sessionOf[s]] != 0 && sessionGeneration[s] == generation[sessionOf[s]])

inline judge() {
	oldSessionLives = (bornOf[1] && OVER(1) && LIVE(1)) || (bornOf[2] && OVER(2) && LIVE(2));
	assert(!oldSessionLives);
	nameHasTwoAccounts = (password[1] && password[2]) || (password[1] && password[3]) || (password[2] && password[3]);
	assert(!nameHasTwoAccounts)
}

/* check says whether a session is good (PROTOCOL 9, rule 4). It reads the account and then the session, not both at once (STORAGE 3.2). */
inline check(s, whose, dead) {
#ifdef MUTANT_NAME                   /* a session is bound to a name, not to an account id: deadAndNotWoken */
	atomic { at = name; g = generation[at]; dead = (password[at] == 0) }
#else
	atomic { g = generation[whose]; dead = (password[whose] == 0) }
#endif
#ifdef MUTANT_NAME
	atomic { dead = dead || sessionGeneration[s] != g; g = 0; at = 0 }
#else
	atomic { dead = dead || sessionOf[s] == NOBODY || sessionGeneration[s] != g; g = 0 }
#endif
}

/* A connection (PROTOCOL 9), with a password that was right when the world began. */
proctype Connection(byte me) {
	byte mine, whose;                   /* the session, and whose it is: in a token, `sid` and `sub` (PROTOCOL 13) */
	byte id, nv, av, g, at;          /* what was read */
	byte asked;                      /* whose account the name was when the challenge was made */
	bit nonce, dead, over, again;

	if
	:: atomic { nonce = 1; asked = name }          /* Challenge: the nonce is alive for one proof (PROTOCOL 9, rule 1), of one account (rule 2) */
	:: atomic { sessions > 0 -> mine = 1; whose = sessionOf[1] } goto token
	fi;

proof:
	atomic {
		if
		:: nonce == 0 -> goto refused                /* nothing to hold a proof against */
		:: else
		fi;
#ifndef MUTANT_NONCE                 /* the nonce is not burned: nonceServedTwice */
		nonce = 0
#endif
	}

login:                               /* One transaction (PROTOCOL 9, rule 2; STORAGE 3.3: login, right), begun anew after a conflict */
	atomic { id = name; nv = nameVersion }
	atomic {
		g = generation[id];
		av = accountVersion[id];
		if
#ifndef MUTANT_ANEW                  /* a proof serves for an account that was registered after its challenge: provedForAnother */
		:: id != asked -> goto refused
#endif
		:: password[id] != 1 -> goto refused         /* STORAGE 1.2 checks what a refusal has read, too; it changes nothing here */
		:: else
		fi
	}
	atomic {
		if
		:: sessions == 2 -> goto refused             /* the end of this small world */
#ifdef MUTANT_GENERATION             /* the account is not in the transaction, and the session gets the generation of now: oldSessionLives */
		:: sessions < 2 ->
#else
		:: sessions < 2 && (nameVersion != nv || accountVersion[id] != av) -> goto login
		:: sessions < 2 && nameVersion == nv && accountVersion[id] == av ->
#endif
			sessions++;
			mine = sessions;
			whose = id;
			sessionOf[mine] = id;
#ifdef MUTANT_GENERATION
			sessionGeneration[mine] = generation[id];
#else
			sessionGeneration[mine] = g;
#endif
			bornOf[mine] = id;
			bornIn[mine] = g;
			nonceServedTwice = served[me];
			assert(!nonceServedTwice);
			provedForAnother = (id != asked);
			assert(!provedForAnother);
			served[me] = 1;
			judge()
		fi
	}
	if                               /* Whoever has seen the proof sends it again (PROTOCOL 9 has no row for that in Ready; the nonce alone must do) */
	:: !again -> again = 1; goto proof
	:: true
	fi;
	goto ready;

token:                               /* A session token (PROTOCOL 9, rule 4) */
	check(mine, whose, dead);
	if
	:: dead -> goto done
	:: else -> goto ready
	fi;

refused:
	if
	:: mine == 0 -> goto done
	:: else
	fi;

ready:                               /* Welcome: first it is among those that the watcher looks after, then it checks */
#ifdef MUTANT_JOIN                   /* the other way round: deadAndNotWoken */
	check(mine, whose, dead);
	atomic { joined[me] = 1; sessionAt[me] = mine }
#else
	atomic { joined[me] = 1; sessionAt[me] = mine; id = 0; nv = 0; av = 0; asked = 0; nonce = 0; again = 0 }
	check(mine, whose, dead);
#endif
	if
	:: dead -> goto goodbye
	:: else
	fi;
	if
	:: true ->                       /* it asks for nothing */
	:: over = OVER(mine);            /* a request (PROTOCOL 9, rule 6), sent before the acknowledgement or after */
#ifndef MUTANT_CHECK                 /* requests are not checked, since whoever is over is woken: servedTooLate */
		check(mine, whose, dead);
		if
		:: dead -> goto goodbye
		:: else
		fi;
#endif
		atomic { servedTooLate = over; assert(!servedTooLate); over = 0 }
	fi;
end_idle:
	woken[me];

goodbye:                             /* session-revoked (PROTOCOL 9, rule 5) */
	joined[me] = 0;
done:
	atomic { id = 0; nv = 0; av = 0; g = 0; at = 0; asked = 0; nonce = 0; again = 0; dead = 0; over = 0; mine = 0; whose = 0; woken[me] = 0; sessionAt[me] = 0 }
}

/* The watcher takes changes from the feed, and wakes whose session has ended. */
proctype Watcher() {
	byte c, s, whose, g, at;
	bit dead;
end_feed:
	do
	:: atomic { feed -> feed = 0; c = 1 }
		do
		:: c < 3 ->
			if
			:: atomic { joined[c] -> s = sessionAt[c]; whose = bornOf[s] }
				check(s, whose, dead);
#ifndef MUTANT_WAKE                  /* nobody is woken: deadAndNotWoken */
				if
				:: atomic { dead && joined[c] -> woken[c] = 1 }
				:: else
				fi
#endif
			:: else
			fi;
			atomic { c++; s = 0; whose = 0; dead = 0 }
		:: atomic { else -> c = 0; break }
		od
	od
}

/* What ends sessions: a change of password, logging out everywhere, or a deletion (STORAGE 3.3). */
proctype Owner() {
	byte id, nv, av, left = ENDINGS;
	bit deletes, changes;
	do
	:: left == 0 -> break
	:: left > 0 ->
		atomic {
			left--;
			if
			:: deletes = 1
			:: changes = 1
			:: true
			fi
		}
again:
		atomic { id = name; nv = nameVersion }
		atomic { av = accountVersion[id] }
		if
		:: id == NOBODY || password[id] == 0 -> goto next
		:: else
		fi;
#ifdef MUTANT_EARLY                  /* acknowledged before it is committed: oldSessionLives */
		if
		:: deletes -> acknowledged[id] = GONE
		:: else -> acknowledged[id] = generation[id] + 1
		fi;
#endif
		atomic {
			if
			:: nameVersion != nv || accountVersion[id] != av -> goto again
			:: else
			fi;
			accountVersion[id]++;
			if
			:: deletes ->
				name = NOBODY;
				nameVersion++;
				password[id] = 0;
				if :: sessionOf[1] == id -> sessionOf[1] = NOBODY :: else fi;
				if :: sessionOf[2] == id -> sessionOf[2] = NOBODY :: else fi
			:: else ->
				generation[id]++;
				if
				:: changes -> password[id] = 2
				:: else
				fi
			fi;
			feed = 1
		}
#ifndef MUTANT_EARLY
		atomic {                     /* Done, PasswordChanged */
			if
			:: deletes -> acknowledged[id] = GONE
			:: else -> acknowledged[id] = generation[id]
			fi;
			judge()
		}
#endif
next:
		atomic { id = 0; nv = 0; av = 0; deletes = 0; changes = 0 }
	od
}

/* Whoever registers the name, if it is free (STORAGE 3.3: register), with the password that the one before had. */
proctype Registrar() {
	byte id, nv;
again:
	atomic { id = name; nv = nameVersion }
	if
	:: id != NOBODY -> goto done     /* name-taken */
	:: else
	fi;
	atomic {
#ifndef MUTANT_ABSENT                /* that the name is free is not checked in the transaction: nameHasTwoAccounts */
		if
		:: nameVersion != nv -> goto again
		:: else
		fi;
#endif
		accounts++;
		name = accounts;
		nameVersion++;
		password[accounts] = 1;
		generation[accounts] = 1;
		accountVersion[accounts] = 1;
		judge()
	}
done:
	atomic { id = 0; nv = 0 }
}

init {
	atomic {
		password[1] = 1;
		generation[1] = 1;
		accountVersion[1] = 1;
		run Watcher();
		run Connection(1);
#ifdef REGISTRARS
		run Registrar();
#else
		run Connection(2);
#endif
		run Owner();
		run Registrar()
	}
	/* When nothing can happen any more, nobody is left whose session has ended and who was not told. */
	atomic {
		timeout ->
		deadAndNotWoken = (joined[1] && !LIVE(sessionAt[1])) || (joined[2] && !LIVE(sessionAt[2]));
		assert(!deadAndNotWoken)
	}
}
