"""Mixed load on a real server for as long as one likes, with an account of every request."""
