"""A space's data: export, import from here and elsewhere, erasure of a user, retention."""
