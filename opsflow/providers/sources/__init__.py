"""Where the code of apps comes from: one file each."""
