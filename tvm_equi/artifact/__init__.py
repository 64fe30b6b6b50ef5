"""From scheduled TensorIR to libraries and manifests: built, cached, exported."""
