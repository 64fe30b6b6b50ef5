"""What is deployed: model files and what runs them; free of torch, e3nn and TVM's compiler."""
