"""What the code of an operator can ask for inside a job; each call is a position in the journal."""
