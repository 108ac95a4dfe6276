"""One module per stage: binds the functions of segment, vectorize and output to the run folder."""
