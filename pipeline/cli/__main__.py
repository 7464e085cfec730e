"""``python -m pipeline.cli``: the command line where the console script is not on the path."""

from pipeline.cli import main

if __name__ == "__main__":
    main(prog_name="noisemill")
