"""Floor 4: programs on programs. Functions of nodes become other functions of nodes."""
