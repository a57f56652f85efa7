//! What a GraphQL query costs, before it is sent: by its depth and its lists.

use graphql_parser::query::{
    Definition, Document, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet, TypeCondition, Value, parse_query,
};
use std::collections::HashMap;

type Doc<'q> = Document<'q, &'q str>;
type Set<'q> = SelectionSet<'q, &'q str>;

/// Values of the query's variables, as far as they are numbers: `first: $rows` multiplies, too.
pub(crate) type Variables<'v> = HashMap<&'v str, u64>;

/// Fragments may contain each other in a ring, and queries may be hostile: nothing real is deeper.
pub(crate) const DEEPEST: u32 = 50;

/// What a query asks for, at most. Numbers stop at their maximum, for lists in lists in lists multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complexity {
    /// How deep fields with fields of their own are nested.
    pub(crate) depth: u32,
    /// GitHub: how many times a list is asked for, and how many nodes all lists hold.
    pub(crate) list_requests: u64,
    pub(crate) nodes: u64,
    /// Shopify: objects and lists by their price, scalars for free.
    pub(crate) shopify: u64,
}

impl Complexity {
    /// GitHub: a hundredth of the list requests, at least 1.
    /// <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>
    pub(crate) fn github_points(&self) -> u32 {
        u32::try_from((self.list_requests.saturating_add(50) / 100).max(1)).unwrap_or(u32::MAX)
    }

    /// Shopify, as it first published it: 1 for an object, 2 for a list and 1 for each object in it, 10 for a mutation.
    /// <https://shopify.engineering/rate-limiting-graphql-apis-calculating-query-complexity>
    pub(crate) fn shopify_points(&self) -> u32 {
        u32::try_from(self.shopify).unwrap_or(u32::MAX)
    }
}

/// The complexity of the first operation of a query.
pub(crate) fn complexity(query: &str, variables: &Variables<'_>) -> Result<Complexity, String> {
    let document: Doc<'_> = parse_query(query).map_err(|error| error.to_string())?;
    let mut fragments = HashMap::new();
    let mut operation = None;
    for definition in &document.definitions {
        match definition {
            Definition::Fragment(fragment) => _ = fragments.insert(fragment.name, fragment),
            Definition::Operation(found) => operation = operation.or(Some(found)),
        }
    }
    let (set, is_mutation) = match operation.ok_or("no operation")? {
        OperationDefinition::SelectionSet(set) => (set, false),
        OperationDefinition::Query(query) => (&query.selection_set, false),
        OperationDefinition::Subscription(subscription) => (&subscription.selection_set, false),
        OperationDefinition::Mutation(mutation) => (&mutation.selection_set, true),
    };
    let mut walk = Walk { fragments, variables, found: Complexity::default() };
    walk.set(set, 1, 1, if is_mutation { Within::Mutation } else { Within::Object }, 0)?;
    Ok(walk.found)
}

/// What a set of fields belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Mutation,
    Object,
    /// The wrapping of a list (`edges`, `nodes`, `node`, `pageInfo`), which costs nothing beside its objects.
    List,
}

struct Walk<'q, 'w> {
    fragments: HashMap<&'q str, &'w FragmentDefinition<'q, &'q str>>,
    variables: &'w Variables<'w>,
    found: Complexity,
}

impl<'q> Walk<'q, '_> {
    /// `times`: how many objects have this set of fields.
    fn set(&mut self, set: &Set<'q>, times: u64, depth: u32, within: Within, nested: u32) -> Result<(), String> {
        if nested > DEEPEST {
            return Err(format!("nested deeper than {DEEPEST}"));
        }
        for selection in &set.items {
            match selection {
                Selection::Field(field) => self.field(field, times, depth, within, nested)?,
                Selection::InlineFragment(inline) => {
                    let _: &Option<TypeCondition<'_, _>> = &inline.type_condition; // of several types all are counted: at most
                    self.set(&inline.selection_set, times, depth, within, nested + 1)?;
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = *self.fragments.get(spread.fragment_name).ok_or("unknown fragment")?;
                    self.set(&fragment.selection_set, times, depth, within, nested + 1)?;
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field<'q, &'q str>, times: u64, depth: u32, within: Within, nested: u32) -> Result<(), String> {
        if within == Within::Mutation {
            self.found.shopify = self.found.shopify.saturating_add(10);
        }
        if field.selection_set.items.is_empty() {
            return Ok(()); // a scalar
        }
        self.found.depth = self.found.depth.max(depth);
        if let Some(rows) = self.rows(field)? {
            let nodes = times.saturating_mul(rows);
            self.found.list_requests = self.found.list_requests.saturating_add(times);
            self.found.nodes = self.found.nodes.saturating_add(nodes);
            self.found.shopify = self.found.shopify.saturating_add(times.saturating_mul(2)).saturating_add(nodes);
            return self.set(&field.selection_set, nodes, depth + 1, Within::List, nested + 1);
        }
        let wraps = within == Within::List && matches!(field.name, "edges" | "nodes" | "node" | "pageInfo");
        if !wraps && within != Within::Mutation {
            self.found.shopify = self.found.shopify.saturating_add(times);
        }
        self.set(&field.selection_set, times, depth + 1, if wraps { Within::List } else { Within::Object }, nested + 1)
    }

    /// How many rows a list is asked for; `None` when it is none.
    fn rows(&self, field: &Field<'q, &'q str>) -> Result<Option<u64>, String> {
        let Some((_, value)) = field.arguments.iter().find(|(name, _)| matches!(*name, "first" | "last")) else { return Ok(None) };
        let rows = match value {
            Value::Int(rows) => rows.as_i64().and_then(|rows| u64::try_from(rows).ok()),
            Value::Variable(name) => self.variables.get(name).copied(),
            _ => None,
        };
        rows.map(Some).ok_or_else(|| format!("`{}` asks for a number of rows that is not known", field.name))
    }
}
