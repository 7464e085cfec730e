"""Training in plain torch: importable with torch, numpy, h5py and safetensors alone.

loop          runs any task, resumable to the bit
schedule      how long and how fast: the loop's settings
task          a noise model's task on its data
denoiser      a denoiser's task on its data
checkpoint    saves and restores all but the data's position, which is the step
events        TensorBoard events beside the log
"""
