//! Owns files on disk: read, write atomically, stream; every error names its path.
