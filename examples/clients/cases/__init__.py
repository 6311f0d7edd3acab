"""One function per library: build its client, and make one call."""
