"""Authentication and access: tokens and their rights, TLS, and the files of both."""
