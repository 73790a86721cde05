"""What commands work on: a database or a service, behind one port."""
