// Energy and forces of a structure, by a model that tvm_equi.export.pt2 made: libtorch, no Python.
//
//   energy MODEL.pt2 STRUCTURE.txt
//
// The structure: a line with the number of atoms and the lengths of the periodic box (0 for none),
// then a line `symbol x y z` for each atom, in angstrom.
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

constexpr double kCutoff = 3.5;
const std::vector<std::string> kSpecies = {"H", "C", "O"};  // in the order of the model's columns

using Vector = std::array<double, 3>;

struct Structure {
  std::vector<int64_t> species;
  std::vector<Vector> positions;
  Vector box;
};

Structure read(const std::string& path) {
  std::ifstream file(path);
  Structure structure;
  size_t num_atoms = 0;
  file >> num_atoms >> structure.box[0] >> structure.box[1] >> structure.box[2];
  std::string symbol;
  Vector r;
  while (structure.positions.size() < num_atoms && file >> symbol >> r[0] >> r[1] >> r[2]) {
    const auto found = std::find(kSpecies.begin(), kSpecies.end(), symbol);
    TORCH_CHECK(found != kSpecies.end(), path, ": expected one of ", kSpecies, ", got ", symbol);
    structure.species.push_back(found - kSpecies.begin());
    structure.positions.push_back(r);
  }
  TORCH_CHECK(num_atoms > 0 && structure.positions.size() == num_atoms, path, ": expected ",
              num_atoms, " atoms, got ", structure.positions.size());
  return structure;
}

/// Every pair closer than the cutoff, periodic images too.
struct Neighbours {
  std::vector<int64_t> senders, receivers;
  std::vector<Vector> shifts;

  explicit Neighbours(const Structure& structure) {
    std::array<int, 3> images;
    for (int a = 0; a < 3; ++a) {
      images[a] = structure.box[a] > 0 ? int(std::ceil(kCutoff / structure.box[a])) : 0;
    }
    const auto num_atoms = int64_t(structure.positions.size());
    for (int64_t i = 0; i < num_atoms; ++i) {
      for (int64_t j = 0; j < num_atoms; ++j) add(structure, images, i, j);
    }
  }

 private:
  void add(const Structure& structure, const std::array<int, 3>& images, int64_t i, int64_t j) {
    for (int x = -images[0]; x <= images[0]; ++x) {
      for (int y = -images[1]; y <= images[1]; ++y) {
        for (int z = -images[2]; z <= images[2]; ++z) {
          const Vector shift = {x * structure.box[0], y * structure.box[1], z * structure.box[2]};
          double square = 0;
          for (int a = 0; a < 3; ++a) {
            square += std::pow(structure.positions[j][a] + shift[a] - structure.positions[i][a], 2);
          }
          if (square >= kCutoff * kCutoff || square == 0) continue;
          receivers.push_back(i);
          senders.push_back(j);
          shifts.push_back(shift);
        }
      }
    }
  }
};

torch::Tensor tensor_of(std::vector<Vector>& rows) {
  return torch::from_blob(rows.data(), {int64_t(rows.size()), 3}, torch::kDouble).clone();
}

int main(int argc, char** argv) try {
  TORCH_CHECK(argc == 3, "expected MODEL.pt2 STRUCTURE.txt, got ", argc - 1, " arguments");
  const c10::InferenceMode mode;
  Structure structure = read(argv[2]);
  Neighbours neighbours(structure);
  torch::inductor::AOTIModelPackageLoader model(argv[1]);

  const auto species = torch::one_hot(torch::tensor(structure.species), int64_t(kSpecies.size()));
  const std::vector<torch::Tensor> outputs =
      model.run({tensor_of(structure.positions), species.to(torch::kDouble),
                 torch::tensor(neighbours.senders, torch::kLong),
                 torch::tensor(neighbours.receivers, torch::kLong), tensor_of(neighbours.shifts)});

  std::printf("energy %.12g\n", outputs[0].item<double>());
  const torch::Tensor forces = -outputs[1];  // the second output is the gradient to the positions
  for (int64_t i = 0; i < forces.size(0); ++i) {
    const auto f = forces[i].contiguous();
    std::printf("force %s %.12g %.12g %.12g\n",
                kSpecies[size_t(structure.species[size_t(i)])].c_str(), f[0].item<double>(),
                f[1].item<double>(), f[2].item<double>());
  }
  return 0;
} catch (const c10::Error& error) {
  std::fprintf(stderr, "%s\n", error.what_without_backtrace());
  return 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
