// Energy and forces of the atoms in an .xyz file, by a model file: no Python, no torch.
//
//     potential MODEL.tvmeq ATOMS.xyz [THREADS]
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <tvm_equi/tvm_equi.hpp>
#include <vector>

using tvm_equi::Error, tvm_equi::Tensor;

constexpr float kCutoff = 3.5f;                  // of the model
const std::string kSpecies[] = {"H", "C", "O"};  // that it knows

void run(const std::string& path, const std::string& atoms, int threads) {
  std::ifstream file(atoms);
  std::string comment, symbol;
  size_t count = 0;
  file >> count;
  std::getline(file, comment);
  std::getline(file, comment);
  std::vector<float> positions, species;
  for (float x, y, z; file >> symbol >> x >> y >> z;) {
    positions.insert(positions.end(), {x, y, z});
    for (const std::string& known : kSpecies) species.push_back(symbol == known);
  }
  if (count == 0 || positions.size() != 3 * count) throw Error(atoms + ": expected atoms");

  std::vector<int64_t> senders, receivers;  // pairs of neighbours, both ways
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < count; ++j) {
      const float *a = &positions[3 * i], *b = &positions[3 * j];
      const float x = a[0] - b[0], y = a[1] - b[1], z = a[2] - b[2];
      if (i == j || x * x + y * y + z * z >= kCutoff * kCutoff) continue;
      senders.push_back(int64_t(j));
      receivers.push_back(int64_t(i));
    }
  }
  const auto nodes = int64_t(count), edges = int64_t(senders.size());
  const std::vector<float> shifts(3 * senders.size(), 0);  // of periodic images; none here

  const auto model = tvm_equi::Model::load(path, {threads});
  const auto out = model({{"positions", Tensor::view(positions, {nodes, 3})},
                          {"species", Tensor::view(species, {nodes, 3})},
                          {"senders", Tensor::view(senders, {edges})},
                          {"receivers", Tensor::view(receivers, {edges})},
                          {"shifts", Tensor::view(shifts, {edges, 3})}});
  std::printf("energy %.9g\n", out["energy"].item<float>());
  const float* gradient = out["d_positions"].data<float>();
  for (size_t i = 0; i < 3 * count; i += 3) {
    std::printf("force %.9g %.9g %.9g\n", -gradient[i], -gradient[i + 1], -gradient[i + 2]);
  }
}

int main(int count, char** arguments) try {
  if (count < 3) throw Error("usage: potential MODEL.tvmeq ATOMS.xyz [THREADS]");
  run(arguments[1], arguments[2], count > 3 ? std::atoi(arguments[3]) : 1);
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
