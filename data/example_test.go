package data_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/tensor"
)

func ExampleBatches() {
	pixels := tensor.Of(tensor.Shape{3, 2}, []float32{0, 0.1, 1, 1.1, 2, 2.1})
	set, err := data.Arrays(nil, []*tensor.Tensor{pixels}, []int{7, 8, 9})
	if err != nil {
		panic(err)
	}
	defer set.Close()
	for batch, err := range data.Batches(context.Background(), set, 2) {
		if err != nil {
			panic(err)
		}
		fmt.Println(batch.Inputs[0], tensor.Data[float32](batch.Inputs[0]), batch.Labels)
	}
	// Output:
	// float32[2x2] [0 0.1 1 1.1] [7 8]
	// float32[1x2] [2 2.1] [9]
}

func ExampleOpen() {
	// Two samples for a model with one input, drawn by a seed. A path instead of random:2 reads arrays or images.
	set, err := data.Open("random:2", data.Options{
		Seed:   1,
		Inputs: []data.Field{{Name: "ids", DType: tensor.Int64, Shape: tensor.Shape{4}, High: 100}},
	})
	if err != nil {
		panic(err)
	}
	defer set.Close()
	fmt.Println(set.Len(), set.Fields()[0])
	// Output: 2 ids int64[4]
}

func ExampleWriteNPY() {
	var file bytes.Buffer
	if err := data.WriteNPY(&file, tensor.Vector[float32](1, 2.5)); err != nil {
		panic(err)
	}
	back, err := data.ReadNPY(&file)
	if err != nil {
		panic(err)
	}
	fmt.Println(back, tensor.Data[float32](back))
	// Output: float32[2] [1 2.5]
}
