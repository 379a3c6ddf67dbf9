"""What keeps strangers out: tokens and the rights they give, TLS, and the files of both."""
