"""HTTP towards providers: the port, and the HTTP/1.1 connection pool behind it."""
