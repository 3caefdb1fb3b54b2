"""The SQL database and the code that talks to it: the only truth."""
