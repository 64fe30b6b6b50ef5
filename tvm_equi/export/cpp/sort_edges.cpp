// `tvm_equi::sort_edges`: edges in the order of the nodes at one end, and tasks of about as much
// work each. The same numbers as `tvm_equi/runtime/topology.py` gives.
#include <ATen/ops/empty.h>

#include <algorithm>

#include "cpu.hpp"

namespace tvm_equi::torch_ops {

namespace {

constexpr int64_t kEdgesPerTask = 512, kMaxTasks = 32;
constexpr int64_t kEdgesPerNode = 4;  // what storing a node's sums costs, in edges

int64_t num_tasks(int64_t num_edges) {
  return std::min(kMaxTasks, 2 * (1 + num_edges / kEdgesPerTask));
}

void check_range(const char* what, const int64_t* index, int64_t num_edges, int64_t count) {
  if (num_edges == 0) return;
  const auto [low, high] = std::minmax_element(index, index + num_edges);
  TORCH_CHECK_INDEX(*low >= 0 && *high < count, "tvm_equi::sort_edges: edge_index: expected ", what,
                    " from 0 to ", count - 1, ", got ", *low, " to ", *high);
}

/// The first edge at which the work so far is at least `work`, over edges sorted by their node.
int64_t edge_at(int64_t work, const int64_t* nodes, int64_t num_edges) {
  int64_t low = 0, high = num_edges;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (middle + kEdgesPerNode * nodes[middle] < work) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Where a task starts: where a node does, unless the node has more edges than a task should have.
int64_t task_start(int64_t bound, const int64_t* nodes, const int64_t* pointers, int64_t num_edges,
                   int64_t count) {
  const int64_t owner = nodes[std::min(bound, num_edges - 1)];
  const int64_t first = pointers[owner], last = pointers[owner + 1];
  if (last - first > num_edges / count) return bound;
  return std::min(bound - first <= last - bound ? first : last, num_edges);
}

}  // namespace

std::vector<at::Tensor> sort_edges(const at::Tensor& edge_index, int64_t side, int64_t num_senders,
                                   int64_t num_receivers) {
  TORCH_CHECK_TYPE(edge_index.scalar_type() == at::kLong && edge_index.device().is_cpu(),
                   "tvm_equi::sort_edges: edge_index: expected Long on the CPU, got ",
                   edge_index.scalar_type(), " on ", edge_index.device());
  TORCH_CHECK_VALUE(edge_index.dim() == 2 && edge_index.size(0) == 2,
                    "tvm_equi::sort_edges: edge_index: expected shape [2, edges], got ",
                    edge_index.sizes());
  TORCH_CHECK_VALUE(side == 0 || side == 1, "tvm_equi::sort_edges: side: expected 0 or 1, got ",
                    side);
  TORCH_CHECK_VALUE(num_senders >= 0 && num_receivers >= 0,
                    "tvm_equi::sort_edges: nodes: expected 0 or more, got ", num_senders, " and ",
                    num_receivers);
  const at::Tensor index = edge_index.contiguous();
  const int64_t num_edges = index.size(1), num_nodes = side == 0 ? num_senders : num_receivers;
  const int64_t* const ends = index.const_data_ptr<int64_t>();
  check_range("senders (row 0)", ends, num_edges, num_senders);
  check_range("receivers (row 1)", ends + num_edges, num_edges, num_receivers);
  const int64_t* const keys = ends + side * num_edges;
  const int64_t* const partners = ends + (1 - side) * num_edges;

  const int64_t count = num_tasks(num_edges);
  const at::TensorOptions options = index.options();
  std::vector<at::Tensor> order = {at::empty({num_edges}, options), at::empty({num_edges}, options),
                                   at::empty({num_edges}, options),
                                   at::empty({num_nodes + 1}, options),
                                   at::empty({2, count + 1}, options)};
  int64_t* const edges = order[0].mutable_data_ptr<int64_t>();
  int64_t* const nodes = order[1].mutable_data_ptr<int64_t>();
  int64_t* const others = order[2].mutable_data_ptr<int64_t>();
  int64_t* const pointers = order[3].mutable_data_ptr<int64_t>();
  int64_t* const bounds = order[4].mutable_data_ptr<int64_t>();
  int64_t* const starts = bounds + count + 1;

  std::fill(pointers, pointers + num_nodes + 1, 0);
  for (int64_t e = 0; e < num_edges; ++e) ++pointers[keys[e] + 1];
  for (int64_t n = 0; n < num_nodes; ++n) pointers[n + 1] += pointers[n];
  std::vector<int64_t> next(pointers, pointers + num_nodes);
  for (int64_t e = 0; e < num_edges; ++e) {
    const int64_t place = next[size_t(keys[e])]++;
    edges[place] = e;
    nodes[place] = keys[e];
    others[place] = partners[e];
  }

  const int64_t work = num_edges + kEdgesPerNode * num_nodes;
  for (int64_t task = 0; task < count; ++task) {
    const int64_t bound = edge_at(task * work / count, nodes, num_edges);
    bounds[task] = num_edges == 0 ? 0 : task_start(bound, nodes, pointers, num_edges, count);
  }
  bounds[count] = num_edges;
  for (int64_t task = 0; task <= count; ++task) {
    starts[task] = std::lower_bound(pointers, pointers + num_nodes, bounds[task]) - pointers;
  }
  starts[0] = 0;
  starts[count] = num_nodes;
  return order;
}

}  // namespace tvm_equi::torch_ops
