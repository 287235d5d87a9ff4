"""Files that come with the program, and the scripts that made them."""
