// Command bench measures a login on the authsrv server beside what people use today, on one machine, with one load generator:
//
//	go -C bench run .                 a login, side by side, and small requests
//	go -C bench run . scale           what grows: accounts, cores, idle connections
//	go -C bench run . micro           the benchmarks of the packages, against baseline.txt
//	go -C bench run . against COMMIT  our server beside itself at another commit: what a change brought
//	go -C bench run . profile         what the time of a login goes to, and a flame graph of it (--svg)
//	go -C bench run . all             logins, requests and scale in one run, as docs/PERFORMANCE.md has them
//	go -C bench run . fill            accounts in a data folder, and nothing else
//
// It builds and starts our server, on a data folder of its own with synced commits, and each peer that is installed, one at a time and in turn,
// several rounds, and prints medians. The processes of a server are told apart from the load by /proc: it needs Linux.
//
// It is a module of its own, so that what it compares with stays out of the server's.
package main
