"""Messages to identities: sending, counting and listing them."""
