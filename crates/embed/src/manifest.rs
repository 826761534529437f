//! The slip of paper in a model folder: what is in it, and how it was made.
