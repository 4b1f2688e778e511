"""Floor 2: the language. Ops, nodes, graphs, and the engines that walk them; no op is named."""
