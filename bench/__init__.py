"""One file per comparison with a peer, each running both sides in one process tree."""
