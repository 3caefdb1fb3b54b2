"""The protocol state of one connection, sans-I/O: frames in, effects out."""
