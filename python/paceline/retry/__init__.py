"""When failed operations are called again, and what servers say when they refuse."""
