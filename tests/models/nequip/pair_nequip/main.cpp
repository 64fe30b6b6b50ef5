// What LAMMPS's `pair_style nequip` and `allegro` do with a model file, without LAMMPS.
//
//   pair MODEL.nequip.pt2 STRUCTURE.txt REPEATS
//
// It loads the package with torch's own loader, takes cutoff, names of types and the order of
// inputs from its metadata, and calls it with positions, edges, types, cell and cell shifts, all as
// the pair style makes them: float64 and int64, edges [atom, neighbour]. It links torch and nothing
// else: operators come by LD_PRELOAD, as they do for a LAMMPS that knows nothing of them.
//
// The structure: a line with the number of atoms, three lines of the cell, a line `symbol x y z`
// for each atom. Printed: the energy, the forces and the virial.
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

using Vector = std::array<double, 3>;
using Tensors = std::map<std::string, torch::Tensor>;

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

struct Structure {
  std::array<Vector, 3> cell;
  std::vector<std::string> symbols;
  std::vector<Vector> positions;

  explicit Structure(const std::string& path) {
    std::ifstream file(path);
    size_t num_atoms = 0;
    file >> num_atoms;
    for (Vector& row : cell) file >> row[0] >> row[1] >> row[2];
    std::string symbol;
    Vector r;
    while (file >> symbol >> r[0] >> r[1] >> r[2]) {
      symbols.push_back(symbol);
      positions.push_back(r);
    }
    TORCH_CHECK(num_atoms > 0 && positions.size() == num_atoms, path, ": expected atoms");
  }
};

/// Every pair closer than the cutoff: the atom, its neighbour, and the cell that the neighbour is
/// in.
struct Edges {
  std::vector<int64_t> atoms, neighbours;
  std::vector<double> shifts;

  Edges(const Structure& structure, double cutoff) {
    const auto num_atoms = int64_t(structure.positions.size());
    constexpr int kImages = 3;  // enough for cells that are not flatter than a third of the cutoff
    for (int64_t i = 0; i < num_atoms; ++i) {
      for (int64_t j = 0; j < num_atoms; ++j) {
        for (int x = -kImages; x <= kImages; ++x) {
          for (int y = -kImages; y <= kImages; ++y) {
            for (int z = -kImages; z <= kImages; ++z) add(structure, cutoff, i, j, {x, y, z});
          }
        }
      }
    }
  }

 private:
  void add(const Structure& structure, double cutoff, int64_t i, int64_t j,
           std::array<int, 3> image) {
    double square = 0;
    for (size_t d = 0; d < 3; ++d) {
      double length = structure.positions[size_t(j)][d] - structure.positions[size_t(i)][d];
      for (size_t k = 0; k < 3; ++k) length += image[k] * structure.cell[k][d];
      square += length * length;
    }
    if (square > cutoff * cutoff || square == 0) return;
    atoms.push_back(i);
    neighbours.push_back(j);
    for (int number : image) shifts.push_back(number);
  }
};

Tensors inputs_of(const Structure& structure,
                  std::unordered_map<std::string, std::string>& metadata) {
  const std::vector<std::string> names = words(metadata["type_names"]);
  std::vector<int64_t> types;
  for (const std::string& symbol : structure.symbols) {
    const auto found = std::find(names.begin(), names.end(), symbol);
    TORCH_CHECK(found != names.end(), "expected a type of the model, got ", symbol);
    types.push_back(found - names.begin());
  }
  const Edges edges(structure, std::stod(metadata["r_max"]));
  std::vector<double> positions, cell;
  for (const Vector& r : structure.positions) positions.insert(positions.end(), r.begin(), r.end());
  for (const Vector& row : structure.cell) cell.insert(cell.end(), row.begin(), row.end());
  const auto num_edges = int64_t(edges.atoms.size());
  return {{"pos", torch::tensor(positions, torch::kDouble).view({-1, 3})},
          {"edge_index", torch::stack({torch::tensor(edges.atoms, torch::kLong),
                                       torch::tensor(edges.neighbours, torch::kLong)})},
          {"atom_types", torch::tensor(types, torch::kLong)},
          {"cell", torch::tensor(cell, torch::kDouble).view({1, 3, 3})},
          {"edge_cell_shift", torch::tensor(edges.shifts, torch::kDouble).view({num_edges, 3})}};
}

/// Inputs as `pair_style allegro` has them: neighbours in other cells are atoms of their own,
/// ghosts. Gives the atom that each is an image of, itself for the others.
torch::Tensor add_ghosts(Tensors& given) {
  const torch::Tensor shifts = given["edge_cell_shift"], edges = given["edge_index"];
  const torch::Tensor positions = given["pos"], types = given["atom_types"];
  const torch::Tensor outside = shifts.abs().sum(1).nonzero().view({-1});
  const torch::Tensor owners = edges[1].index_select(0, outside);
  const torch::Tensor moves = shifts.index_select(0, outside).matmul(given["cell"][0]);
  const int64_t num_atoms = positions.size(0), num_ghosts = owners.size(0);
  given["pos"] = torch::cat({positions, positions.index_select(0, owners) + moves});
  given["atom_types"] = torch::cat({types, types.index_select(0, owners)});
  edges[1].index_put_({outside}, torch::arange(num_atoms, num_atoms + num_ghosts));
  return torch::cat({torch::arange(num_atoms), owners});
}

void print(const char* name, const torch::Tensor& values) {
  const torch::Tensor rows = values.reshape({-1, 3}).contiguous();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const double* row = rows.const_data_ptr<double>() + 3 * i;
    std::printf("%s %.12g %.12g %.12g\n", name, row[0], row[1], row[2]);
  }
}

int main(int argc, char** argv) try {
  TORCH_CHECK(argc == 4, "expected MODEL.nequip.pt2 STRUCTURE.txt REPEATS");
  torch::inductor::AOTIModelPackageLoader model(argv[1]);
  auto metadata = model.get_metadata();
  const Structure structure(argv[2]);
  Tensors given = inputs_of(structure, metadata), found;
  const torch::Tensor atoms = torch::arange(given.at("pos").size(0));
  const std::vector<std::string> names = words(metadata["nequip_aoti_inputs"]);
  const bool has_cell = std::find(names.begin(), names.end(), "cell") != names.end();
  const torch::Tensor owners = has_cell ? atoms : add_ghosts(given);
  for (int repeat = 0; repeat < std::stoi(argv[3]); ++repeat) {
    std::vector<torch::Tensor> inputs;
    for (const std::string& name : names) inputs.push_back(given.at(name));
    const std::vector<torch::Tensor> outputs = model.run(inputs);
    size_t number = 0;
    for (const std::string& name : words(metadata["nequip_aoti_outputs"]))
      found[name] = outputs[number++];
  }
  const torch::Tensor energies = found.at("atomic_energy").index_select(0, atoms);
  std::printf("energy %.12g\n", energies.sum().item<double>());
  // Forces on ghosts are forces on the atoms that they are images of.
  print("force",
        torch::zeros({atoms.size(0), 3}, torch::kDouble).index_add(0, owners, found.at("forces")));
  print("virial", found.at("virial"));
  return 0;
} catch (const c10::Error& error) {
  std::fprintf(stderr, "%s\n", error.what_without_backtrace());
  return 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
