package server

// Connections returns how many connections there are, logged in or not.
func (s *Server) Connections() int { return int(s.open.Load()) }
