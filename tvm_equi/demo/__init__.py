"""The command `tvm-equi demo`: e3nn and the compiled model side by side on real structures."""
