"""In a user's own program: nothing moves the running statistics without being heard of.

Importing this package imports no TensorFlow: pytest loads the plugin in it at every start.
"""
