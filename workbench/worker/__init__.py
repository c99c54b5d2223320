"""What computes: the only importer of `ml`. Called by jobs and, in the foreground, by the command line."""
