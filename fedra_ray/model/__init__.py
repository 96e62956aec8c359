"""The frozen backbone, its stack of blocks, and the sub-models that clients train."""
