"""The security suite: what strangers, and holders of each right, can do to a server that runs."""
