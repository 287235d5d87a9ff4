"""One script per other program; each runs in the other program's environment, without ours."""
