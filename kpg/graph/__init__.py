"""Programs: loops, compiling, random numbers, shapes and the cache of compilations."""
