//! Graph questions about a plan: cycles, order, critical path, transitive reduction. The only user of petgraph.

use std::collections::BTreeMap;

use petgraph::graph::{DiGraph, NodeIndex};

use crate::id::StepId;
use crate::plan::{Plan, PlanError, StepSpec};

fn build(plan: &Plan) -> DiGraph<usize, ()> {
    let mut graph = DiGraph::with_capacity(plan.steps.len(), plan.steps.len());
    let nodes: BTreeMap<&StepId, NodeIndex> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| (&step.id, graph.add_node(index)))
        .collect();
    for step in &plan.steps {
        for dependency in &step.after {
            if let (Some(from), Some(to)) = (nodes.get(dependency), nodes.get(&step.id)) {
                graph.update_edge(*from, *to, ());
            }
        }
    }
    graph
}

/// Refuses a plan whose steps wait for each other, naming one cycle.
pub(crate) fn acyclic(plan: &Plan) -> Result<(), PlanError> {
    let graph = build(plan);
    for component in petgraph::algo::tarjan_scc(&graph) {
        let looped = component.len() > 1
            || component
                .first()
                .is_some_and(|node| graph.contains_edge(*node, *node));
        if looped {
            return Err(PlanError::Cycle {
                cycle: walk_cycle(plan, &graph, &component),
            });
        }
    }
    Ok(())
}

/// Follows edges inside a strongly connected component until a node repeats.
fn walk_cycle(plan: &Plan, graph: &DiGraph<usize, ()>, component: &[NodeIndex]) -> Vec<StepId> {
    let mut path: Vec<NodeIndex> = component.first().copied().into_iter().collect();
    while let Some(last) = path.last().copied() {
        let Some(next) = graph.neighbors(last).find(|node| component.contains(node)) else {
            break;
        };
        let seen = path.iter().position(|node| *node == next);
        path.push(next);
        if let Some(start) = seen {
            path.drain(..start);
            break;
        }
    }
    path.iter()
        .filter_map(|node| graph.node_weight(*node))
        .filter_map(|index| plan.steps.get(*index))
        .map(|step| step.id.clone())
        .collect()
}

/// Indices of the steps in an order in which every step follows its dependencies.
///
/// A plan that passed [`Plan::check`] has one; for any other the answer is empty.
pub fn order(plan: &Plan) -> Vec<usize> {
    let graph = build(plan);
    let Ok(nodes) = petgraph::algo::toposort(&graph, None) else {
        return Vec::new();
    };
    nodes
        .iter()
        .filter_map(|node| graph.node_weight(*node).copied())
        .collect()
}

/// The direct dependencies that no longer path implies: what `wiab graph` draws.
pub fn reduced_edges(plan: &Plan) -> Vec<(StepId, StepId)> {
    let graph = build(plan);
    let Ok(nodes) = petgraph::algo::toposort(&graph, None) else {
        return Vec::new();
    };
    let (list, _) =
        petgraph::algo::tred::dag_to_toposorted_adjacency_list::<_, u32>(&graph, &nodes);
    let (reduction, _) = petgraph::algo::tred::dag_transitive_reduction_closure(&list);
    let name = |index: u32| -> Option<StepId> {
        let node = nodes.get(index as usize)?;
        plan.steps
            .get(*graph.node_weight(*node)?)
            .map(|step| step.id.clone())
    };
    reduction
        .edge_indices()
        .filter_map(|edge| reduction.edge_endpoints(edge))
        .filter_map(|(from, to)| Some((name(from)?, name(to)?)))
        .collect()
}

/// For each step (by plan index) the time from its start to the end of the plan if nothing else held it up, in
/// milliseconds. The larger, the more urgent: the runner starts urgent steps first.
pub fn urgency_ms(plan: &Plan, duration_ms: &dyn Fn(&StepSpec) -> u64) -> Vec<u64> {
    let index: BTreeMap<&StepId, usize> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| (&step.id, index))
        .collect();
    let mut urgency = vec![0_u64; plan.steps.len()];
    for at in order(plan).into_iter().rev() {
        let Some(step) = plan.steps.get(at) else {
            continue;
        };
        let own = urgency
            .get(at)
            .copied()
            .unwrap_or_default()
            .saturating_add(duration_ms(step));
        if let Some(slot) = urgency.get_mut(at) {
            *slot = own;
        }
        for dependency in step.after.iter().filter_map(|id| index.get(id)) {
            if let Some(slot) = urgency.get_mut(*dependency) {
                *slot = (*slot).max(own);
            }
        }
    }
    urgency
}

/// The longest chain of steps by duration, first step first, and its length in milliseconds.
pub fn critical_path(plan: &Plan, duration_ms: &dyn Fn(&StepSpec) -> u64) -> (Vec<StepId>, u64) {
    let urgency = urgency_ms(plan, duration_ms);
    let mut chain = Vec::new();
    let mut last: Option<&StepId> = None;
    loop {
        let next = plan
            .steps
            .iter()
            .zip(&urgency)
            .filter(|(step, _)| match last {
                None => step.after.is_empty(),
                Some(previous) => step.after.contains(previous),
            })
            .max_by_key(|(_, ms)| **ms);
        let Some((step, _)) = next else { break };
        chain.push(step.id.clone());
        last = Some(&step.id);
    }
    (chain, urgency.iter().copied().max().unwrap_or_default())
}
