// Energy and forces of the atoms in an .xyz file, by a model file: no Python, no torch.
//
//     potential MODEL.tvmeq ATOMS.xyz [THREADS]
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <tvm_equi/tvm_equi.hpp>
#include <vector>

using tvm_equi::Tensor;

constexpr float kCutoff = 3.5f;  // the model's
const std::string kSpecies[] = {"H", "C", "O"};

int run(const std::string& path, const std::string& atoms, int threads) {
  std::ifstream file(atoms);
  int64_t count = 0;
  std::string line, symbol;
  if (!(file >> count) || count < 1 || count > 100000)
    throw tvm_equi::Error("no atoms in " + atoms);
  std::getline(file, line);
  std::getline(file, line);  // the comment
  std::vector<float> positions, species, shifts;
  for (std::array<float, 3> xyz; file >> symbol >> xyz[0] >> xyz[1] >> xyz[2];) {
    positions.insert(positions.end(), xyz.begin(), xyz.end());
    for (const std::string& known : kSpecies) species.push_back(symbol == known ? 1.0f : 0.0f);
  }

  std::vector<int64_t> senders, receivers;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < count; ++j) {
      float square = 0;
      for (int k = 0; k < 3; ++k) {
        const float d = positions.at(size_t(3 * j + k)) - positions.at(size_t(3 * i + k));
        square += d * d;
      }
      if (i == j || square >= kCutoff * kCutoff) continue;
      senders.push_back(j);
      receivers.push_back(i);
    }
  }
  const auto edges = int64_t(senders.size());
  shifts.resize(size_t(3 * edges), 0.0f);  // of periodic images; none here

  const auto model = tvm_equi::Model::load(path, {threads});
  const auto out = model({{"positions", Tensor::view(positions, {count, 3})},
                          {"species", Tensor::view(species, {count, 3})},
                          {"senders", Tensor::view(senders, {edges})},
                          {"receivers", Tensor::view(receivers, {edges})},
                          {"shifts", Tensor::view(shifts, {edges, 3})}});
  std::printf("energy %.9g\n", out["energy"].item<float>());
  const float* gradient = out["gradient"].data<float>();
  for (int64_t i = 0; i < count; ++i) {
    const float* g = gradient + 3 * i;
    std::printf("force %.9g %.9g %.9g\n", -g[0], -g[1], -g[2]);
  }
  return 0;
}

int main(int count, char** arguments) try {
  if (count < 3) throw tvm_equi::Error("usage: potential MODEL.tvmeq ATOMS.xyz [THREADS]");
  return run(arguments[1], arguments[2], count > 3 ? std::atoi(arguments[3]) : 1);
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
