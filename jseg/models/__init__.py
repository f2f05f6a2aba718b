"""Models: CLIP, backbones, heads, losses, segmentors. `import jseg.models.segmentors` fills the registry."""
