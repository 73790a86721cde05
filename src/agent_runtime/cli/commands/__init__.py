"""The commands, one file for each; imported when a command is used."""
