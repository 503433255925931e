"""What the demonstration needs beside the package itself: a model that anyone may have."""
