"""The verbs: one file each. A verb imports what it needs when it is called, so that `quantmill --help` stays quick."""
