// Package data reads calibration, training and evaluation samples as batches of tensors.
//
// A [Set] is a finite list of samples in a fixed order. [Open] makes one from what users have: numpy arrays (.npy, .npz), a
// folder or zip archive of images in class folders, IDX files (MNIST), CIFAR binary files, or random values. [Batches] walks
// it; [Limit], [Subset] and [Shuffle] choose samples and order. The same set, options and seed give the same tensors.
//
// The numpy readers and writers stand on their own: [ReadNPY], [WriteNPY], [OpenNPY], [OpenNPZ].
package data
