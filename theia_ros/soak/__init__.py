"""A long run of two encoder nodes, which shows that memory stays flat and no picture is lost."""
