"""`python -m feedd`."""

if __name__ == "__main__":  # worker processes import this module, too, and need no command line
    from feedd.cli import main

    main()
