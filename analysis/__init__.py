"""Scripts that build and measure what the package ships."""
