"""What is wrong with a machine, and the command that cures it: one small check for each thing."""
