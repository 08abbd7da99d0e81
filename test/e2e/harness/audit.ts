/** What the API server wrote down of the agents' requests: which watches are open, who asked for what. */

interface AuditEvent {
  readonly stage: 'RequestReceived' | 'ResponseStarted' | 'ResponseComplete' | 'Panic';
  readonly auditID: string;
  readonly verb: string;
  readonly user: { readonly username: string; readonly extra?: Readonly<Record<string, readonly string[]>> };
  readonly userAgent?: string;
  readonly objectRef?: { readonly resource?: string; readonly apiGroup?: string; readonly name?: string };
  readonly responseStatus?: { readonly code?: number };
}

/** One token of one account: what an agent is told apart by. */
export interface AgentRequests {
  readonly user: string;
  readonly credential: string;
  readonly userAgent: string;
  /** Resources with a watch open now, one entry each watch. */
  readonly watches: string[];
  /** `get leases.coordination.k8s.io 200` → how many were answered so. */
  readonly answers: Record<string, number>;
}

export function requestsByAgent(log: string): AgentRequests[] {
  const agents = new Map<string, AgentRequests>();
  const open = new Map<string, { readonly agent: AgentRequests; readonly resource: string }>();
  for (const line of log.split('\n')) {
    const event = parse(line);
    if (event === undefined || event.stage === 'RequestReceived') continue;
    const agent = agentOf(agents, event);
    const resource = resourceOf(event);
    if (event.stage === 'ResponseStarted') {
      if (event.verb === 'watch') open.set(event.auditID, { agent, resource });
      continue;
    }
    open.delete(event.auditID);
    const answer = `${event.verb} ${resource} ${event.responseStatus?.code ?? 0}`;
    agent.answers[answer] = (agent.answers[answer] ?? 0) + 1;
  }
  for (const { agent, resource } of open.values()) agent.watches.push(resource);
  for (const agent of agents.values()) agent.watches.sort();
  return [...agents.values()];
}

/** The last line may be half written. */
function parse(line: string): AuditEvent | undefined {
  if (!line.endsWith('}')) return undefined;
  try {
    return JSON.parse(line) as AuditEvent;
  } catch {
    return undefined;
  }
}

function agentOf(agents: Map<string, AgentRequests>, { user, userAgent = '' }: AuditEvent): AgentRequests {
  const credential = user.extra?.['authentication.kubernetes.io/credential-id']?.[0] ?? '';
  const key = `${user.username} ${credential}`;
  let agent = agents.get(key);
  if (agent === undefined) {
    agent = { user: user.username, credential, userAgent, watches: [], answers: {} };
    agents.set(key, agent);
  }
  return agent;
}

function resourceOf({ objectRef }: AuditEvent): string {
  const group = objectRef?.apiGroup ?? '';
  return `${objectRef?.resource ?? '-'}${group === '' ? '' : `.${group}`}`;
}
