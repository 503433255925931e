"""Distillation: from pictures and teachers to a model that the node loads as it is."""
