"""The command line as `python -m tvm_equi.cli`."""

from tvm_equi.cli.app import main

if __name__ == "__main__":
    main()
